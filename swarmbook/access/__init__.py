"""How the book reaches a cluster: its folder, SSH, the engines' API, certificates, secrets at rest."""
