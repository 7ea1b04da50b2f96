"""What the system tests share: one Tarn in a directory of its own, its REST API, its databases, its processes."""
