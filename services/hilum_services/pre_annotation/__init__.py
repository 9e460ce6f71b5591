"""Pre-annotation: what Label Studio asks a model for, whole tasks and interactively."""
