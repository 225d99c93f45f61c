"""Blind votes between the images of a finished study's settings."""
