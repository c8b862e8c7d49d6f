"""What makes a figure: a sweep at two sizes, its drawing, its files and its verdict."""
