"""Inference: what a model says of an image, for whoever may ask."""
