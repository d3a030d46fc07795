"""Does a server count as the contract says? Known histories, an oracle, and a comparison."""
