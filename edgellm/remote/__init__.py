"""Boards, over the system's own OpenSSH."""
