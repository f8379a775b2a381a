"""What several phases share: operating systems, stacks, images on nodes, probe containers, preconditions."""
