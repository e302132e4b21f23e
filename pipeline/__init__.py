"""What Parley does: listen, think, speak. No web framework and no database in here."""
