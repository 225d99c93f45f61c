"""Figures of one GPU, from nothing but the working tree and a few wheels, in under nine minutes."""
