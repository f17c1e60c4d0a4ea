"""What is special about the solvers of PINA, which Lightning trains."""
