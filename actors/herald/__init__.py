"""Herald: tells people what they should know, by webhooks that are signed."""
