"""`/ws`: turns and live conversations."""
