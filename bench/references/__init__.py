"""What the program is measured against: small, plain, and frozen. A change here is a change of the yardstick."""
