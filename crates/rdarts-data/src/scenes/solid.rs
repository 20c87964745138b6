//! The surfaces of a scene, and where a ray meets each.
//!
//! A ray is `eye + z (dx, dy, 1)`: what is met first has the least z. An object is a unit solid (ball, tube, card) in
//! coordinates of its own; the ray is taken there by its matrix.

use rdarts_rng::Stream;

use super::texture::Texture;

/// A ray from the camera at (eye, 0, 0) along (dx, dy, 1).
pub struct Ray {
    pub eye: f64,
    pub dx: f64,
    pub dy: f64,
}

/// Where a ray meets a surface.
pub struct Hit {
    /// Depth.
    pub z: f64,
    /// The place in the solid's own coordinates; of a plane that of the scene.
    at: [f64; 3],
}

/// One surface.
#[derive(Clone, Debug)]
pub struct Solid {
    kind: Kind,
    texture: Texture,
    /// Bounds of the slopes dx and dy at which it can be seen, dx from the left camera and from the right one.
    bounds: [(f64, f64); 3],
}

#[derive(Clone, Debug)]
enum Kind {
    /// `focal / z = a x / z + b y / z + c` without end, where that is positive; two directions in it for its texture, and
    /// how much a pixel covers more than on a wall that faces the cameras.
    Plane { coefficients: [f64; 3], axes: [[f64; 3]; 2], stretch: f64, focal: f64 },
    /// A shape in coordinates of its own, to which `inverse` takes the scene; `eyes` are the two cameras there, `lengths` its
    /// half axes in the scene.
    Object { eyes: [[f64; 3]; 2], inverse: [[f64; 3]; 3], lengths: [f64; 3], shape: Shape },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    /// x^2 + y^2 + z^2 = 1.
    Ball,
    /// x^2 + z^2 = 1, |y| <= 1.
    Tube,
    /// Parts of the square |x|, |y| <= 1 at z = 0.
    Card(Card),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Card {
    Whole,
    Ellipse,
    Ring,
    /// Thin bars both ways, with so many openings along a side.
    Lattice(u32),
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn unit(a: [f64; 3]) -> [f64; 3] {
    let length = dot(a, a).sqrt();
    a.map(|value| value / length)
}

fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// Rows of a random rotation, from a quaternion that is uniform in the ball.
fn rotation(stream: &mut Stream) -> [[f64; 3]; 3] {
    let (q, square) = loop {
        let q = [0; 4].map(|_| 2.0 * stream.uniform() - 1.0);
        let square = q.iter().map(|v| v * v).sum::<f64>();
        if (0.01..=1.0).contains(&square) {
            break (q, square);
        }
    };
    let [w, x, y, z] = q;
    let s = 2.0 / square;
    [
        [1.0 - s * (y * y + z * z), s * (x * y - w * z), s * (x * z + w * y)],
        [s * (x * y + w * z), 1.0 - s * (x * x + z * z), s * (y * z - w * x)],
        [s * (x * z - w * y), s * (y * z + w * x), 1.0 - s * (x * x + y * y)],
    ]
}

/// Where the light comes from, the same for all scenes.
const LIGHT: [f64; 3] = [-0.36, -0.48, -0.8];

impl Solid {
    /// The plane whose disparity is `a dx + b dy + c`, dx and dy being slopes seen from the left camera.
    pub fn plane(coefficients: [f64; 3], focal: f64, stream: &mut Stream) -> Self {
        // focal = a x + b y + c z for its points.
        let normal = unit(coefficients);
        let first = unit(cross([0.0, 1.0, 0.0], normal).map(|v| if v == 0.0 { 1e-12 } else { v }));
        let axes = [first, cross(normal, first)];
        let stretch = 1.0 / normal[2].abs().max(0.2);
        // Where it lies at the middle of its range of depth, for the scale of its texture.
        let z = focal / (coefficients[2].abs() + 0.25 * coefficients[1].abs()).max(1e-9);
        let texture = Texture::new(stream, z / focal * stretch);
        let everywhere = (f64::NEG_INFINITY, f64::INFINITY);
        Self { kind: Kind::Plane { coefficients, axes, stretch, focal }, texture, bounds: [everywhere; 3] }
    }

    /// A random object within a ball.
    pub fn object(center: [f64; 3], radius: f64, focal: f64, stream: &mut Stream) -> Self {
        let shape = match stream.below(10) {
            0 | 1 => Shape::Ball,
            2 => Shape::Tube,
            3 | 4 => Shape::Card(Card::Whole),
            5 => Shape::Card(Card::Ellipse),
            6 => Shape::Card(Card::Ring),
            7 => Shape::Card(Card::Lattice(2 + stream.below(3) as u32)),
            8 => Shape::Card(Card::Lattice(5)),
            _ => Shape::Tube,
        };
        let mut part = |low: f64| low + (1.0 - low) * stream.uniform();
        // Half axes as parts of the radius, such that the corners stay within it.
        let axes = match shape {
            Shape::Ball => [part(0.5), part(0.5), part(0.5)],
            // Thin poles and broad columns.
            Shape::Tube => {
                let thin = 0.06 + 0.4 * part(0.0) * part(0.0);
                [thin, 0.85, thin]
            }
            Shape::Card(Card::Whole) => {
                // Some are bars.
                let narrow = if part(0.0) < 0.3 { 0.08 } else { 0.3 + 0.4 * part(0.0) };
                [0.7, narrow, 1.0]
            }
            Shape::Card(_) => [0.7 * part(0.6), 0.7 * part(0.6), 1.0],
        };
        let mut turn = rotation(stream);
        if matches!(shape, Shape::Card(_)) {
            // A card that is seen from its edge alone shows nothing: its normal leans at most 60 degrees or so.
            while turn[2][2].abs() < 0.5 {
                turn = rotation(stream);
            }
        }
        let inverse = [0, 1, 2].map(|i| turn[i].map(|value| value / (axes[i] * radius)));
        let [x, y, z] = center;
        let texture = Texture::new(stream, z / focal);
        let near = z - radius;
        let bound = |v: f64| -> (f64, f64) {
            let (low, high) = (v - radius, v + radius);
            let far = z + radius;
            (low / if low < 0.0 { near } else { far }, high / if high > 0.0 { near } else { far })
        };
        let bounds = [bound(y), bound(x), bound(x - 1.0)];
        let lengths = axes.map(|axis| axis * radius);
        let eyes = [0.0, 1.0].map(|eye| inverse.map(|row| dot(row, [eye - x, -y, -z])));
        Self { kind: Kind::Object { eyes, inverse, lengths, shape }, texture, bounds }
    }

    /// Whether rays with this slope downward can meet it.
    pub fn may_meet_row(&self, dy: f64) -> bool {
        (self.bounds[0].0..=self.bounds[0].1).contains(&dy)
    }

    /// Whether a ray can meet it, as its slope to the side tells.
    pub fn may_meet_column(&self, ray: &Ray) -> bool {
        let bounds = self.bounds[if ray.eye == 0.0 { 1 } else { 2 }];
        (bounds.0..=bounds.1).contains(&ray.dx)
    }

    /// Where a ray meets it first.
    pub fn meet(&self, ray: &Ray) -> Option<Hit> {
        match &self.kind {
            Kind::Plane { coefficients: [a, b, c], focal, .. } => {
                // focal = a (eye + z dx) + b z dy + c z.
                let along = a * ray.dx + b * ray.dy + c;
                let z = (focal - a * ray.eye) / along;
                (z > 0.0 && z.is_finite()).then_some(Hit { z, at: [ray.eye + z * ray.dx, z * ray.dy, z] })
            }
            Kind::Object { eyes, inverse, shape, .. } => {
                let o = eyes[usize::from(ray.eye != 0.0)];
                let r = inverse.map(|row| row[0] * ray.dx + row[1] * ray.dy + row[2]);
                shape.meet(o, r)
            }
        }
    }

    /// The colour of a place on it.
    pub fn colour(&self, hit: &Hit, focal: f64) -> [u8; 3] {
        let pixel = hit.z / focal;
        match &self.kind {
            Kind::Plane { axes, stretch, .. } => {
                self.texture.flat([dot(axes[0], hit.at), dot(axes[1], hit.at)], pixel * stretch, 1.0)
            }
            Kind::Object { inverse, lengths, shape, .. } => {
                let at = [0, 1, 2].map(|i| hit.at[i] * lengths[i]);
                let local = match shape {
                    Shape::Ball => hit.at,
                    Shape::Tube => [hit.at[0], 0.0, hit.at[2]],
                    Shape::Card(_) => [0.0, 0.0, 1.0],
                };
                let normal = unit(
                    [0, 1, 2].map(|j| inverse[0][j] * local[0] + inverse[1][j] * local[1] + inverse[2][j] * local[2]),
                );
                let stretch = 1.0 / normal[2].abs().max(0.2);
                match shape {
                    Shape::Card(_) => self.texture.flat([at[0], at[1]], pixel * stretch, 1.0),
                    _ => {
                        let light = 0.7 + 0.3 * dot(normal, LIGHT).max(0.0);
                        self.texture.curved(at, pixel * stretch, light)
                    }
                }
            }
        }
    }
}

impl Shape {
    /// Where `o + z r` meets it first; z is the depth, since `o` is where the camera is.
    fn meet(self, o: [f64; 3], r: [f64; 3]) -> Option<Hit> {
        let place = |z: f64| Hit { z, at: [0, 1, 2].map(|i| o[i] + z * r[i]) };
        match self {
            Self::Ball => positive_roots(dot(r, r), dot(o, r), dot(o, o) - 1.0)[0].map(place),
            Self::Tube => {
                let roots = positive_roots(
                    r[0] * r[0] + r[2] * r[2],
                    o[0] * r[0] + o[2] * r[2],
                    o[0] * o[0] + o[2] * o[2] - 1.0,
                );
                // Its inside is seen where an end is open.
                roots.into_iter().flatten().map(place).find(|hit| hit.at[1].abs() <= 1.0)
            }
            Self::Card(card) => {
                let z = -o[2] / r[2];
                if !(z > 0.0 && z.is_finite()) {
                    return None;
                }
                let hit = place(z);
                card.covers(hit.at[0], hit.at[1]).then_some(hit)
            }
        }
    }
}

/// The positive roots of `a z^2 + 2 b z + c`, the smaller first.
fn positive_roots(a: f64, b: f64, c: f64) -> [Option<f64>; 2] {
    let discriminant = b * b - a * c;
    if !(discriminant >= 0.0 && a > 0.0) {
        return [None; 2];
    }
    let root = discriminant.sqrt();
    [(-b - root) / a, (-b + root) / a].map(|z| (z > 0.0).then_some(z))
}

impl Card {
    fn covers(self, x: f64, y: f64) -> bool {
        if x.abs() > 1.0 || y.abs() > 1.0 {
            return false;
        }
        let square = x * x + y * y;
        match self {
            Self::Whole => true,
            Self::Ellipse => square <= 1.0,
            Self::Ring => (0.4..=1.0).contains(&square),
            Self::Lattice(n) => {
                // Bars take a quarter of the way.
                let on_bar = |v: f64| {
                    let place = (v + 1.0) * 0.5 * (f64::from(n) + 0.25);
                    place - place.floor() < 0.25
                };
                on_bar(x) || on_bar(y)
            }
        }
    }
}
