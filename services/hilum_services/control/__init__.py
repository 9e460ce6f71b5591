"""What is told of campaigns over HTTP."""
