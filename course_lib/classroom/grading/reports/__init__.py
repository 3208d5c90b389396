"""What a graded class gets: feedback pages, a summary, marks for a learning platform."""
