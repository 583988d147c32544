"""What the HTTP measurements share: mock upstream, load, stock pair, reports."""
