"""Where machines come from: providers, the local lab, images, rehearsed machines."""
