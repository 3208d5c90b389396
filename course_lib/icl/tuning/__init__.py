"""Tuning: siblings of a model, made to learn in context from one feature rather than from another."""
