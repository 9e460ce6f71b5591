"""Annotators in Label Studio: its regions as voxels, and ours as its regions."""
