"""An open book: parameters, cluster and connections, and how a step goes through them."""
