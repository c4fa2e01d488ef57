"""What people and machines are shown of cassettes: lists, time lines, comparisons."""
