"""hilum: out of a million images, the thousand worth a radiologist's time."""
