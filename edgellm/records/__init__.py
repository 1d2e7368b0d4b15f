"""What crosses a process, a file or the network; standard library only."""
