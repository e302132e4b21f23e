"""HTTP and WebSocket foundations, shared by all routes."""
