"""Figures of reliability: each counts, over many runs, how often what the course promises holds."""
