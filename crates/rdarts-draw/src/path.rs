//! Points, boxes and lines, in points of print at natural size; y grows downwards.

/// A place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// From the left.
    pub x: f64,
    /// From above.
    pub y: f64,
}

/// A box.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rect {
    /// Its middle.
    pub middle: Point,
    /// How wide it is.
    pub width: f64,
    /// How high it is.
    pub height: f64,
}

/// A line that only goes to the right: straight and level, or bending from level to level.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    /// Where it goes through, from first to last. Between two points of equal y it is straight, else it bends.
    pub knots: Vec<Point>,
}

impl Point {
    /// The same place, moved.
    pub fn moved(self, by: Point) -> Point {
        Point { x: self.x + by.x, y: self.y + by.y }
    }
}

impl Rect {
    /// The x of its left side.
    pub fn left(&self) -> f64 {
        self.middle.x - self.width / 2.0
    }

    /// The x of its right side.
    pub fn right(&self) -> f64 {
        self.middle.x + self.width / 2.0
    }

    /// The y of its upper side.
    pub fn top(&self) -> f64 {
        self.middle.y - self.height / 2.0
    }

    /// The y of its lower side.
    pub fn bottom(&self) -> f64 {
        self.middle.y + self.height / 2.0
    }

    /// Whether a place lies within, or less than `margin` beside it.
    pub fn holds(&self, p: Point, margin: f64) -> bool {
        (p.x - self.middle.x).abs() < self.width / 2.0 + margin
            && (p.y - self.middle.y).abs() < self.height / 2.0 + margin
    }

    /// Whether two boxes share more than their border.
    pub fn overlaps(&self, other: &Rect) -> bool {
        (self.middle.x - other.middle.x).abs() < (self.width + other.width) / 2.0
            && (self.middle.y - other.middle.y).abs() < (self.height + other.height) / 2.0
    }
}

impl Path {
    /// A line through these points, without those that change nothing.
    pub fn new(through: impl IntoIterator<Item = Point>) -> Self {
        let mut knots: Vec<Point> = Vec::new();
        for point in through {
            match knots.as_slice() {
                [.., last] if *last == point => continue,
                [.., before, last] if before.y == last.y && last.y == point.y => {
                    knots.pop();
                }
                _ => {}
            }
            knots.push(point);
        }
        Self { knots }
    }

    /// The two points between `a` and `b` that a bend is drawn to, as a Bézier curve of third degree.
    pub fn bend(a: Point, b: Point) -> [Point; 2] {
        let reach = 0.55 * (b.x - a.x);
        [Point { x: a.x + reach, y: a.y }, Point { x: b.x - reach, y: b.y }]
    }

    /// Points on the line, `n` for each bend or straight part, and its end.
    pub fn sampled(&self, n: usize) -> Vec<Point> {
        let between = |pair: &[Point]| {
            let (a, b) = (pair[0], pair[1]);
            let [c, d] = Path::bend(a, b);
            (0..n).map(move |i| {
                let t = i as f64 / n as f64;
                let s = 1.0 - t;
                let [wa, wc, wd, wb] = [s * s * s, 3.0 * s * s * t, 3.0 * s * t * t, t * t * t];
                Point { x: wa * a.x + wc * c.x + wd * d.x + wb * b.x, y: wa * a.y + wc * c.y + wd * d.y + wb * b.y }
            })
        };
        self.knots.windows(2).flat_map(between).chain(self.knots.last().copied()).collect()
    }

    /// The same line, moved.
    pub fn moved(&self, by: Point) -> Path {
        Path { knots: self.knots.iter().map(|knot| knot.moved(by)).collect() }
    }
}
