//! Whether drawings are what a reader needs: nothing on top of anything else, every label there, the same bytes each time,
//! and pixels where text is.

mod sound;

use proptest::prelude::*;

use rdarts_draw::{
    Arrange, COLUMN_WIDTH, CellPicture, Colors, DrawError, Drawing, Form, Labels, Style, Width, dot, layout, png,
    raster, svg,
};
use rdarts_rng::Stream;
use rdarts_space::{
    CellType, DisparityCell, DisparityGenotype, DisparitySpace, Genotype, MAX_NODES, Op, Space, named, sample, uniform,
};

use crate::sound::check;

/// Mixing weights of a cell type: softmax of random alphas.
fn weights(space: &Space, cell: CellType, stream: &mut Stream) -> Vec<f32> {
    let edge = |ops: &Vec<Op>| {
        let raised: Vec<f64> = ops.iter().map(|_| (4.0 * stream.uniform()).exp()).collect();
        let sum: f64 = raised.iter().sum();
        raised.into_iter().map(|value| (value / sum) as f32).collect::<Vec<_>>()
    };
    space.cell(cell).iter().flat_map(edge).collect()
}

/// A cell of any operations on any edges, also several from one state to one node.
fn random_cell(nodes: usize, stream: &mut Stream) -> (Vec<(Op, usize)>, Vec<usize>) {
    let mut below = |n: usize| ((stream.uniform() * n as f64) as usize).min(n - 1);
    let entries = (0..2 * nodes).map(|i| (Op::OF_DARTS[below(Op::OF_DARTS.len())], below(2 + i / 2))).collect();
    let mut concat: Vec<usize> = (2..2 + nodes).filter(|_| below(3) > 0).collect();
    if concat.is_empty() {
        concat.push(2 + below(nodes));
    }
    (entries, concat)
}

fn random_genotype(nodes: [usize; 2], stream: &mut Stream) -> Genotype {
    let [(normal, normal_concat), (reduce, reduce_concat)] = nodes.map(|nodes| random_cell(nodes, stream));
    Genotype { normal, normal_concat, reduce, reduce_concat, topology: rdarts_space::Topology::Darts }
}

fn forms() -> impl Strategy<Value = Form> {
    let labels = prop_oneof![
        Just(Labels::Short),
        Just(Labels::ShortWithWeight),
        Just(Labels::Name),
        Just(Labels::NameWithWeight)
    ];
    let arrange = prop_oneof![Just(Arrange::Above), Just(Arrange::Beside)];
    let room = proptest::option::of(1.0..800.0);
    (labels, arrange, room).prop_map(|(labels, arrange, room)| Form { labels, arrange, room })
}

proptest! {
    // `PROPTEST_CASES=5000 cargo test --release -p rdarts-draw` looks at more of them.
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(24),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn genotypes_of_every_space_are_drawn_soundly(seed: u64, name in 0..Space::NAMES.len(), form in forms()) {
        let space = Space::builtin(Space::NAMES[name]).unwrap();
        check(&Drawing::of_genotype(&sample(&space, &mut Stream::new(seed, "draw", 0))).unwrap(), &form);
    }

    #[test]
    fn cells_of_any_shape_are_drawn_soundly(seed: u64, normal in 1..8usize, reduce in 1..8usize, form in forms()) {
        let genotype = random_genotype([normal, reduce], &mut Stream::new(seed, "draw", 0));
        genotype.check().unwrap();
        check(&Drawing::of_genotype(&genotype).unwrap(), &form);
    }

    #[test]
    fn genotypes_for_disparity_are_drawn_soundly(seed: u64, name in 0..DisparitySpace::NAMES.len(), form in forms()) {
        let space = DisparitySpace::builtin(DisparitySpace::NAMES[name]).unwrap();
        let mut stream = Stream::new(seed, "draw", 0);
        let alphas = DisparityCell::ALL
            .map(|cell| (0..cell.n_edges() * space.ops.len()).map(|_| stream.uniform() as f32).collect::<Vec<f32>>());
        let genotype = space.derive([&alphas[0], &alphas[1], &alphas[2]]);
        check(&Drawing::of_disparity(&genotype).unwrap(), &form);
    }

    #[test]
    fn supernets_are_drawn_soundly_and_in_the_same_places(seed: u64, name in 0..Space::NAMES.len(), form in forms()) {
        let space = Space::builtin(Space::NAMES[name]).unwrap();
        let [first, second] = [0, 1].map(|at| {
            let weights = weights(&space, CellType::Normal, &mut Stream::new(seed, "draw", at));
            let cell = CellPicture::of_supernet(&space, CellType::Normal, &weights).unwrap();
            Drawing { title: "Supernet".to_owned(), cells: vec![cell] }
        });
        let then = check(&first, &form);
        prop_assert_eq!(then.showing(&second).unwrap(), layout(&second, &form).unwrap());
    }

    #[test]
    fn any_title_is_text(title in "\\PC{0,20}[<&\"'\n\u{202e}\u{2066}\u{0}]{0,4}\\PC{0,200}") {
        let mut drawing = Drawing::of_genotype(&uniform(Op::SkipConnect, 1)).unwrap();
        drawing.title = title.clone();
        drawing.cells[0].title = title;
        let layout = check(&drawing, &Form::COLUMN);
        for colors in [Colors::Page, Colors::PageStyle, Colors::Light, Colors::Dark] {
            let text = svg(&layout, &Style { colors, width: Width::Natural });
            let tree = resvg::usvg::roxmltree::Document::parse(&text).unwrap();
            let is_shown = text.chars().all(|c| c == '\n' || !c.is_control() && !matches!(c, '\u{202e}' | '\u{2066}'));
            prop_assert!(is_shown);
            prop_assert_eq!(tree.root_element().children().filter(|node| node.has_tag_name("title")).count(), 1);
        }
        let written = dot(&drawing);
        let plain = dot(&Drawing::of_genotype(&uniform(Op::SkipConnect, 1)).unwrap());
        prop_assert_eq!(written.lines().count(), plain.lines().count());
    }
}

#[test]
fn an_upsampling_cell_names_its_four_inputs_and_counts_its_nodes_behind_them() {
    let drawing = Drawing::of_disparity(&DisparityGenotype::autodispnet()).unwrap();
    assert_eq!(drawing.cells.iter().map(|cell| cell.edges.len()).collect::<Vec<_>>(), [6, 6, 8]);
    let layout = check(&drawing, &Form::COLUMN);
    let picture = svg(&layout, &Style::COLUMN);
    for name in ["prediction", "encoder", "Upsampling cell"] {
        assert_eq!(picture.matches(&format!(">{name}</text>")).count(), 1, "{name}");
    }
    let words = "node 2 reads prediction through sep_conv_3x3 and node 0 through dil_conv_5x5";
    assert!(layout.description.contains(words), "{}", layout.description);
    let graph = dot(&drawing);
    assert!(graph.contains("cell2_2 [label=\"prediction\"]") && graph.contains("cell2_4 [label=\"0\"]"), "{graph}");
    // What is not there cannot be drawn.
    let mut wrong = drawing.cells[2].clone();
    wrong.inputs = 2;
    assert!(wrong.check().is_err());
}

#[test]
fn a_large_supernet_is_drawn() {
    let edges = MAX_NODES * (MAX_NODES + 3) / 2;
    let ops = vec![vec![Op::SkipConnect, Op::SepConv3x3]; edges];
    let space = Space::new("large", MAX_NODES, ops.clone(), ops).unwrap();
    let weights = vec![0.5; 2 * edges];
    let cell = CellPicture::of_supernet(&space, CellType::Reduce, &weights).unwrap();
    check(&Drawing { title: String::new(), cells: vec![cell] }, &Form::SCREEN);
}

#[test]
fn the_same_genotype_gives_the_same_bytes() {
    let genotype = named("random-darts-4").unwrap();
    let bytes = || {
        let layout = layout(&Drawing::of_genotype(&genotype).unwrap(), &Form::COLUMN).unwrap();
        (svg(&layout, &Style::COLUMN), png(&layout, &Style::COLUMN, 1.0).unwrap())
    };
    let first = bytes();
    assert!((0..5).all(|_| bytes() == first));
}

#[test]
fn a_supernet_shows_the_strongest_operations_and_keeps_two_edges_a_node() {
    let space = Space::builtin("s3").unwrap();
    let mut weights = vec![0.1f32; space.n_alphas(CellType::Normal)];
    // Edge 0: none is strongest, then skip. Edges 2 to 4 lead to node 1; the last is weakest.
    weights[..3].copy_from_slice(&[0.7, 0.2, 0.1]);
    weights[6..15].copy_from_slice(&[0.0, 0.0, 1.0, 0.1, 0.8, 0.1, 0.9, 0.05, 0.05]);
    let cell = CellPicture::of_supernet(&space, CellType::Normal, &weights).unwrap();
    assert_eq!((cell.edges[0].op, cell.edges[0].weight), (Op::SkipConnect, Some(0.2)));
    let kept: Vec<(Op, bool)> = cell.edges[2..5].iter().map(|edge| (edge.op, edge.is_kept)).collect();
    assert_eq!(kept, [(Op::SepConv3x3, true), (Op::SkipConnect, true), (Op::SkipConnect, false)]);
    assert!((0..4).all(|node| cell.edges.iter().filter(|edge| edge.node == node && edge.is_kept).count() == 2));
    // What the derivation keeps, from alphas that give these weights.
    let alphas: Vec<f32> = weights.iter().map(|weight| weight.ln()).collect();
    let derived = rdarts_space::derive(&space, &alphas, &alphas).canonical();
    let drawn = cell.edges.iter().filter(|edge| edge.is_kept).map(|edge| (edge.op, edge.input));
    assert_eq!(drawn.collect::<Vec<_>>(), derived.normal);
}

#[test]
fn thickness_follows_the_weight() {
    let cell = CellPicture::of_genotype(&uniform(Op::SepConv3x3, 1), CellType::Normal).unwrap();
    let cell = cell.with_weights(&[0.0, 1.0]).unwrap();
    let drawing = Drawing { title: String::new(), cells: vec![cell] };
    let text = svg(&layout(&drawing, &Form::COLUMN).unwrap(), &Style::COLUMN);
    assert!(text.contains("stroke-width=\"0.5\"") && text.contains("stroke-width=\"3\""), "{text}");
    assert!(text.contains("<title>sep_conv_3x3, weight 1.000</title>"));
}

#[test]
fn what_cannot_be_drawn_is_refused_in_a_sentence() {
    let cell = || CellPicture::of_genotype(&uniform(Op::SepConv3x3, 2), CellType::Normal).unwrap();
    let with = |change: fn(&mut CellPicture)| {
        let mut changed = cell();
        change(&mut changed);
        layout(&Drawing { title: String::new(), cells: vec![changed] }, &Form::PAGE).unwrap_err()
    };
    assert_eq!(with(|cell| cell.edges[3].input = 3), DrawError::Edge { input: 3, node: 1, nodes: 2 });
    assert_eq!(with(|cell| cell.edges[3].node = 2), DrawError::Edge { input: 1, node: 2, nodes: 2 });
    assert_eq!(with(|cell| cell.concat = vec![2, 2]), DrawError::Concat { state: 2, nodes: 2 });
    assert_eq!(with(|cell| cell.concat = vec![1]), DrawError::Concat { state: 1, nodes: 2 });
    assert!(matches!(with(|cell| cell.edges[1].weight = Some(f32::NAN)), DrawError::Weight { at: 1, .. }));
    assert!(with(|cell| cell.nodes = 1000).to_string().contains("1000 nodes"));
    assert_eq!(layout(&Drawing { title: String::new(), cells: vec![] }, &Form::PAGE), Err(DrawError::Nothing));
    assert_eq!(cell().with_weights(&[0.5]), Err(DrawError::Weights { needed: 4, given: 1 }));
    assert_eq!(cell().with_weights(&[0.5, 0.5, 0.5, 1.5]), Err(DrawError::Weight { at: 3, given: 1.5 }));
    let normal_only = Genotype { reduce: vec![], reduce_concat: vec![], ..uniform(Op::SepConv3x3, 2) };
    let missing = CellPicture::of_genotype(&normal_only, CellType::Reduce).unwrap_err();
    assert_eq!(missing.to_string(), "the genotype has no reduce cell");
    assert_eq!(Drawing::of_genotype(&normal_only).unwrap().cells.len(), 1);
    let layout = layout(&Drawing::of_genotype(&normal_only).unwrap(), &Form::PAGE).unwrap();
    for scale in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e6] {
        assert!(matches!(png(&layout, &Style::PAGE, scale), Err(DrawError::Size { .. })), "{scale}");
    }
}

#[test]
fn a_png_has_the_size_that_was_asked_for_and_its_labels_are_rendered() {
    let drawing = Drawing::of_genotype(&named("DARTS_V2").unwrap()).unwrap();
    let layout = layout(&drawing, &Form::COLUMN).unwrap();
    let pixels = |layout: &_, style: &Style, scale| {
        image::load_from_memory_with_format(&png(layout, style, scale).unwrap(), image::ImageFormat::Png)
            .unwrap()
            .to_luma8()
    };
    // 3.25 inches of 300 dots.
    let picture = pixels(&layout, &Style::COLUMN, 3.125);
    assert_eq!(picture.width(), 975);
    let mut blank = layout.clone();
    for edge in blank.cells.iter_mut().flat_map(|cell| &mut cell.edges) {
        edge.text = String::new();
    }
    let blank = pixels(&blank, &Style::COLUMN, 3.125);
    let scale = 975.0 / layout.width.max(COLUMN_WIDTH);
    let beside = (COLUMN_WIDTH - layout.width).max(0.0) / 2.0;
    for edge in layout.cells.iter().flat_map(|cell| &cell.edges) {
        let [x, y] = [edge.label.left() + beside, edge.label.top()].map(|at| (at * scale) as u32);
        let [w, h] = [edge.label.width, edge.label.height].map(|side| (side * scale) as u32);
        let places = (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y)));
        let changed = places.filter(|&(x, y)| blank.get_pixel(x, y)[0] > picture.get_pixel(x, y)[0] + 100).count();
        // Letters cover a tenth of a label at least.
        assert!(changed as u32 * 10 > w * h, "{}: {changed} of {}", edge.text, w * h);
    }
    let dark = pixels(&layout, &Style { colors: Colors::Dark, width: Width::Pixels(200.0) }, 2.0);
    assert_eq!((dark.width(), dark.get_pixel(0, 0)[0] < 40), (400, true));
}

#[test]
fn any_svg_becomes_pixels_with_text_of_any_family() {
    let svg = |text: &str| {
        format!(
            "<svg xmlns='http://www.w3.org/2000/svg' xmlns:xlink='http://www.w3.org/1999/xlink' width='40' height='20'>\
             <style>.a{{font:16px system-ui,\"Helvetica Neue\"}}</style><rect width='20' height='20' fill='#f008'/>\
             <image href='{0}/Cargo.toml' width='9' height='9'/><text class='a' x='22' y='16'>{text}</text></svg>",
            env!("CARGO_MANIFEST_DIR")
        )
    };
    let picture = raster(&svg("W"), 2.0).unwrap();
    assert_eq!((picture.width, picture.height, picture.rgba.len()), (80, 40, 80 * 40 * 4));
    assert_eq!(picture.rgba[..4], [255, 0, 0, 136], "color is not multiplied by alpha");
    let blank = raster(&svg(""), 2.0).unwrap();
    let changed = picture.rgba.chunks(4).zip(blank.rgba.chunks(4)).filter(|(a, b)| a != b).count();
    assert!(changed > 150, "{changed} pixels of a letter");
    assert!(matches!(raster("no picture", 1.0), Err(DrawError::Render(_))));
    assert!(matches!(raster(&svg("W"), f64::NAN), Err(DrawError::Size { .. })));
}

#[test]
fn svg_and_dot_stay_as_they_are() {
    let drawing = Drawing::of_genotype(&named("random-darts-no-none-3").unwrap()).unwrap();
    let drawing = Drawing { cells: drawing.cells[..1].to_vec(), ..drawing };
    insta::assert_snapshot!("dot", dot(&drawing));
    insta::assert_snapshot!("svg", svg(&layout(&drawing, &Form::COLUMN).unwrap(), &Style::COLUMN));
    insta::assert_snapshot!("css", rdarts_draw::css());
}

#[cfg(feature = "pdf")]
#[test]
fn a_pdf_has_a_page_as_large_as_the_picture_with_text_in_it() {
    let layout = layout(&Drawing::of_genotype(&named("DARTS_V2").unwrap()).unwrap(), &Form::COLUMN).unwrap();
    let bytes = rdarts_draw::pdf(&layout, &Style::COLUMN).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.starts_with("%PDF-") && text.contains("/MediaBox[0 0 234 "), "{text}");
    assert!(text.contains("Arimo"), "letters are in the font of the file");
    assert_eq!(bytes, rdarts_draw::pdf(&layout, &Style::COLUMN).unwrap());
}
