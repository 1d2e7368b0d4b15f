"""What this machine says of itself: clocks, counters, memory; standard library only."""
