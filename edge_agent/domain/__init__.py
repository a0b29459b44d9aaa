"""Domain values that the stages exchange, frozen. Imports no other package of ours and no device library."""
