"""Stages: one function and one file per step, named as its command: named files in, one named file out."""
