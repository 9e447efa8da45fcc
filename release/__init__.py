"""Makes a release: images for several architectures, their bills of material, and the charts that name them."""
