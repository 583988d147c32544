"""A discrete-event simulation that judges the router's decisions."""
