"""Stages: one function per step, from named files to one named file; resume, progress and parallelism."""
