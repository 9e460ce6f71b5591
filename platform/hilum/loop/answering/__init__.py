"""What a model says of one image: which version of it answers, how the image is read, and the answer."""
