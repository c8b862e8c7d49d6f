"""The colours of every page and figure: Okabe and Ito's, told apart by every kind of colour vision."""

BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, BLACK, GREY = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000", "#8a8f98",
)  # fmt: skip
GRID = "#e8eaed"
# one after another, for curves that have no colour of their own
PALETTE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, GREY)
