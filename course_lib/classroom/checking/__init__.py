"""How an answer is called, compared, shown and explained: for the exercises and for the judge."""
