"""What a plan would cost, computed from proven facts: pure, exact where money is, believed by nobody else."""
