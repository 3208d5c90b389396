"""The assignments: what their tasks ask, their references, and the usual mistakes."""
