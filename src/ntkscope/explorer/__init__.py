"""One page on which λ_min moves with depth, width, N, d, activation and data, without a network."""
