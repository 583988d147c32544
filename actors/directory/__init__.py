"""What operators add at run time: no actor, but values and the port that keeps them."""
