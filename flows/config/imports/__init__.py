"""Configuration files of other trainers, turned into an experiment and a concepts file."""
