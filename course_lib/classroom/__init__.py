"""The classroom: what makes a course of the methods. The methods never import it."""
