"""Other projects' searches, replayed through their own code. Each drives its library as its documentation shows."""
