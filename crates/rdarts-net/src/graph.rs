//! The network as data: a graph of modules, where each weight lies, and the one walk over it.
//!
//! Nodes stand in the order in which they can be computed; each reads the images or nodes before it. A cell has a type,
//! and all cells of a type share their architecture parameters (DARTS paper, section 2.1). All weights of all nodes lie
//! in one flat buffer, node after node; the buffer itself belongs to the caller. Names and shapes towards the outside
//! are those PyTorch users of DARTS know.
//!
//! Whoever computes something over a network ([`crate::derivatives`], [`crate::curvature`], the cost, the memory) says
//! what happens at a node; `walk`, `walk_all` and `walk_back` say in which order, and
//! what each node reads.

use std::fmt;
use std::sync::Arc;

use rdarts_kernels::dense::Layer;
use rdarts_kernels::spec::{
    AuxiliarySpec, CellDims, CellSpec, HeadSpec, NormPlace, StemSpec, Weight, WeightKind, running_len, weights_len,
};
use rdarts_kernels::workspace::Workspace;
use rdarts_rng::Stream;
use rdarts_space::Op;

use crate::held::{Made, View};
use crate::own::{Operation, OwnModule};
use crate::values::{Alphas, Real};

/// Modules, what each reads, and what stands before the names of its weights, in the order in which they can be computed.
pub type List = Vec<(Module, Vec<Source>, String)>;

/// What a node computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Module {
    /// Reads the images.
    Stem(StemSpec),
    /// Reads two states.
    Cell(CellModule),
    /// Reads a state, gives one of the same shape.
    Own(OwnModule),
    /// Reads a state, gives the logits.
    Head(HeadSpec),
    /// Reads a state, gives logits for the training alone.
    Auxiliary(AuxiliarySpec),
    /// Reads any states, of a network of layers alone.
    Layer(Layer),
}

/// A cell of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellModule {
    /// Its shape and operations.
    pub spec: Arc<CellSpec>,
    /// Which architecture parameters mix its operations; in a supernet that of [`rdarts_space::CellType`].
    pub cell_type: usize,
    /// Which of the network's cells it is, from 0.
    pub index: usize,
}

/// What a node reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The images of the batch.
    Images,
    /// The output of an earlier node.
    Node(usize),
}

/// A module, what it reads, and its place in the flat buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it computes.
    pub module: Module,
    /// What it reads, in the order of the module's inputs.
    pub inputs: Vec<Source>,
    /// What stands before the names of its weights: `stem.`, `cells.3.`, `classifier.`.
    pub prefix: String,
    /// Position of its first weight in the flat buffer.
    pub offset: usize,
    /// Number of its weight values.
    pub len: usize,
    /// Position of its first running statistic in their flat buffer, and how many it has: none in a supernet.
    pub running: (usize, usize),
}

impl Node {
    /// What a node of a network of layers computes.
    pub(crate) fn layer(&self) -> &Layer {
        match &self.module {
            Module::Layer(layer) => layer,
            _ => unreachable!("a network of layers has no other module"),
        }
    }

    /// The type of cell whose mixing weights it reads.
    fn cell_type(&self) -> Option<usize> {
        match &self.module {
            Module::Cell(cell) => Some(cell.cell_type),
            Module::Layer(layer) => layer.cell_type(),
            _ => None,
        }
    }

    /// The cell, if it is one.
    pub fn cell(&self) -> Option<&CellModule> {
        if let Module::Cell(cell) = &self.module { Some(cell) } else { None }
    }

    /// Its part of a flat buffer.
    pub fn part<'a, T>(&self, flat: &'a [T]) -> &'a [T] {
        &flat[self.offset..self.offset + self.len]
    }

    /// Its part of a flat buffer of running statistics.
    pub fn running_part<'a, T>(&self, flat: &'a [T]) -> &'a [T] {
        &flat[self.running.0..][..self.running.1]
    }

    /// Its part of a flat buffer, to write.
    pub fn part_mut<'a, T>(&self, flat: &'a mut [T]) -> &'a mut [T] {
        &mut flat[self.offset..self.offset + self.len]
    }
}

/// One weight tensor of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// PyTorch's name, for example `cells.3._ops.2._ops.1.op.1.weight`.
    pub name: String,
    /// Position of its node.
    pub node: usize,
    /// Position of its first value in the flat buffer of the whole network.
    pub offset: usize,
    /// Its layout.
    pub kind: WeightKind,
}

/// A batch norm with running statistics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningNorm {
    /// PyTorch's name, for example `cells.3._ops.2.op.3`.
    pub name: String,
    /// Position of its means in the flat buffer of running statistics; its variances follow.
    pub offset: usize,
    /// Channels.
    pub c: usize,
}

/// Why a weight could not be read or written by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParameterError {
    /// The network has no weight of this name.
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// The weight has another shape.
    Shape {
        /// Its name.
        name: String,
        /// The shape it has.
        expected: Vec<usize>,
        /// The shape that was given.
        given: Vec<usize>,
    },
}

impl fmt::Display for ParameterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { name } => write!(f, "the network has no weight named `{name}`"),
            Self::Shape { name, expected, given } => {
                write!(f, "the weight `{name}` has the shape {expected:?}, not {given:?}")
            }
        }
    }
}

impl std::error::Error for ParameterError {}

/// A graph of modules and the places of their weights.
#[derive(Clone, Debug)]
pub struct Network {
    nodes: Vec<Node>,
    output: usize,
    auxiliary: Option<usize>,
    /// Operations of each edge of each type of cell.
    cell_types: Vec<Vec<Vec<Op>>>,
    c_image: usize,
    parameters: Vec<Parameter>,
    n_parameters: usize,
    norms: Vec<RunningNorm>,
    /// The last node that reads the output of each.
    last_reader: Vec<usize>,
}

impl Network {
    /// Lays out nodes, given as (module, what it reads, what stands before the names of its weights) in the order in
    /// which they can be computed; the node `output` gives the logits, an auxiliary head, of which there may be one, others
    /// for the training. The network has running statistics if its cells are discrete. `cell_types` has the operations of each edge of
    /// each type of cell, `c_image` the channels of the images.
    ///
    /// # Panics
    /// If a node reads one that does not stand before it, a module has another number of inputs than it takes, the output
    /// is not a head, another node than it is read by none, or a cell has not the operations of its type. There is one
    /// stem, which alone reads the images.
    pub fn new(list: List, output: usize, cell_types: Vec<Vec<Vec<Op>>>, c_image: usize) -> Self {
        let is_discrete =
            |(module, ..): &(Module, _, _)| matches!(module, Module::Cell(cell) if cell.spec.discrete.is_some());
        let is_discrete = list.iter().any(is_discrete);
        Self::laid_out(list, output, cell_types, c_image, is_discrete)
    }

    /// The same of a network of layers whose norms, each in front of its scale, have running statistics.
    ///
    /// # Panics
    /// As [`Network::new`].
    pub(crate) fn of_discrete_layers(list: List, output: usize, cell_types: Vec<Vec<Vec<Op>>>, c_image: usize) -> Self {
        Self::laid_out(list, output, cell_types, c_image, true)
    }

    fn laid_out(list: List, output: usize, cell_types: Vec<Vec<Vec<Op>>>, c_image: usize, is_discrete: bool) -> Self {
        let (mut nodes, mut parameters, mut offset) = (Vec::<Node>::new(), Vec::new(), 0);
        let mut norms = Vec::<RunningNorm>::new();
        // A norm of layers does not know its channels, but the scale behind it does.
        let scales: Vec<Option<usize>> = list
            .iter()
            .skip(1)
            .map(|(module, ..)| if let Module::Layer(Layer::Scale(c)) = module { Some(*c) } else { None })
            .chain([None])
            .collect();
        let mut last_reader = vec![usize::MAX; list.len()];
        let auxiliary = list.iter().position(|(module, ..)| matches!(module, Module::Auxiliary(_)));
        for (at, (module, inputs, prefix)) in list.into_iter().enumerate() {
            let (weights, own_norms) = match &module {
                Module::Stem(spec) => (spec.weights(), spec.norms()),
                Module::Cell(cell) => {
                    assert_eq!(cell.spec.edges, cell_types[cell.cell_type], "a cell has the operations of its type");
                    (cell.spec.weights(), cell.spec.norms())
                }
                Module::Own(own) => (own.weights(), Vec::new()),
                Module::Head(spec) => (spec.weights(), Vec::new()),
                Module::Auxiliary(spec) => (spec.weights(), spec.norms()),
                Module::Layer(Layer::Norm) if is_discrete => {
                    let c = scales[at].expect("a norm with running statistics stands in front of its scale");
                    (Vec::new(), vec![NormPlace { name: String::new(), c }])
                }
                Module::Layer(layer) => (layer.weights(), Vec::new()),
            };
            let own_norms = if is_discrete { own_norms } else { Vec::new() };
            let begin = norms.last().map_or(0, |last: &RunningNorm| last.offset + 2 * last.c);
            let running = (begin, running_len(&own_norms));
            let mut next = begin;
            norms.extend(own_norms.into_iter().map(|NormPlace { name, c }| {
                next += 2 * c;
                // What is a module of its own has no name within.
                let name = format!("{prefix}{name}").trim_end_matches('.').to_string();
                RunningNorm { name, offset: next - 2 * c, c }
            }));
            for source in &inputs {
                if let Source::Node(read) = *source {
                    assert!(read < at, "node {at} reads node {read}, which stands behind it");
                    last_reader[read] = at;
                }
            }
            let len = weights_len(&weights);
            parameters.extend(weights.into_iter().map(|Weight { name, offset: within, kind }| Parameter {
                name: format!("{prefix}{name}"),
                node: at,
                offset: offset + within,
                kind,
            }));
            nodes.push(Node { module, inputs, prefix, offset, len, running });
            offset += len;
        }
        let unread =
            (0..nodes.len()).find(|&at| at != output && Some(at) != auxiliary && last_reader[at] == usize::MAX);
        assert_eq!(unread, None, "a node is read by none");
        last_reader[output] = usize::MAX;
        let net = Self {
            nodes,
            output,
            auxiliary,
            cell_types,
            c_image,
            parameters,
            n_parameters: offset,
            norms,
            last_reader,
        };
        if net.is_dense() {
            net.check_layers()
        } else {
            net.check_modules()
        }
        net
    }

    /// Panics unless it is a classification's, of one stem, cells and heads.
    fn check_modules(&self) {
        let is_stem = |node: &&Node| matches!(node.module, Module::Stem(_));
        assert_eq!(self.nodes.iter().filter(is_stem).count(), 1, "a network has one stem");
        for node in &self.nodes {
            let n_inputs = if node.cell().is_some() { 2 } else { 1 };
            assert_eq!(node.inputs.len(), n_inputs, "{} reads another number of states", node.prefix);
            assert_eq!(node.inputs.contains(&Source::Images), is_stem(&node), "the stem alone reads the images");
        }
        assert!(matches!(self.nodes[self.output].module, Module::Head(_)), "the output is a head");
    }

    /// Panics unless it is made of layers alone, whose states and mixing weights there are.
    fn check_layers(&self) {
        for node in &self.nodes {
            let Module::Layer(layer) = &node.module else { panic!("{} is no layer among layers", node.prefix) };
            let n_inputs = layer.n_inputs().unwrap_or(node.inputs.len().max(1));
            assert_eq!(node.inputs.len(), n_inputs, "{} reads another number of states", node.prefix);
            if let Layer::Mix { cell_type, alphas } = layer {
                let n = self.cell_types[*cell_type].iter().map(Vec::len).sum();
                assert!(alphas.iter().all(|alpha| *alpha < n), "{} mixes by weights that are not there", node.prefix);
            }
        }
        let is_output = matches!(self.nodes[self.output].module, Module::Layer(Layer::Outputs));
        assert!(is_output, "the output of a network of layers is all its values in a row");
    }

    /// The network with an operation of one's own behind a node: whoever reads the node reads the operation instead. The
    /// names of its weights begin with `prefix`.
    ///
    /// # Panics
    /// If the network is discrete, whose file has no place for it, or the node is a head.
    pub fn with(&self, operation: Arc<dyn Operation>, behind: usize, prefix: &str) -> Self {
        assert!(self.norms.is_empty(), "an operation of one's own goes into a supernet");
        let is_state = !matches!(self.nodes[behind].module, Module::Head(_) | Module::Auxiliary(_));
        assert!(is_state, "nothing comes behind a head");
        let moved = |source: &Source| match *source {
            Source::Node(read) if read >= behind => Source::Node(read + 1),
            source => source,
        };
        let of = |node: &Node| (node.module.clone(), node.inputs.clone(), node.prefix.clone());
        let mut list: Vec<_> = self.nodes.iter().map(of).collect();
        list[behind + 1..].iter_mut().flat_map(|(_, inputs, _)| inputs).for_each(|source| *source = moved(source));
        let own = Module::Own(OwnModule(operation));
        list.insert(behind + 1, (own, vec![Source::Node(behind)], prefix.to_string()));
        Self::new(list, self.output + 1, self.cell_types.clone(), self.c_image)
    }

    /// Whether all of its modules are the fused kernels of a classification: none came from outside.
    pub(crate) fn is_fused(&self) -> bool {
        !self.nodes.iter().any(|node| matches!(node.module, Module::Own(_) | Module::Layer(_)))
    }

    /// Whether it is made of layers, which `flow.rs` computes.
    pub fn is_dense(&self) -> bool {
        self.nodes.iter().any(|node| matches!(node.module, Module::Layer(_)))
    }

    /// Whether it is a network of layers that classifies: its last state is a mean over the pixels.
    fn classifies(&self) -> bool {
        self.nodes.iter().any(|node| matches!(node.module, Module::Layer(Layer::Mean)))
    }

    /// Which node is the output.
    pub(crate) fn output_node(&self) -> usize {
        self.output
    }

    /// The nodes, in the order in which they are computed.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The cells, in the order in which they are computed.
    pub fn cells(&self) -> impl Iterator<Item = &CellModule> {
        self.nodes.iter().filter_map(Node::cell)
    }

    /// The stem, and which node it is.
    pub(crate) fn stem(&self) -> (StemSpec, usize) {
        let of =
            |(at, node): (usize, &Node)| if let Module::Stem(spec) = node.module { Some((spec, at)) } else { None };
        self.nodes.iter().enumerate().find_map(of).expect("a network has a stem")
    }

    /// Channels of the images.
    pub fn c_image(&self) -> usize {
        self.c_image
    }

    /// Every weight tensor, in the order of the flat buffer.
    pub fn weights(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Length of the flat buffer.
    pub fn n_parameters(&self) -> usize {
        self.n_parameters
    }

    /// The batch norms that have running statistics, in the order of their flat buffer; none in a supernet.
    pub fn norms(&self) -> &[RunningNorm] {
        &self.norms
    }

    /// Number of running statistics.
    pub fn n_running(&self) -> usize {
        self.norms.iter().map(|norm| 2 * norm.c).sum()
    }

    /// Running statistics before the first step: mean 0, variance 1.
    pub fn init_running(&self) -> Vec<f32> {
        self.norms.iter().flat_map(|norm| [vec![0.0; norm.c], vec![1.0; norm.c]].concat()).collect()
    }

    /// Whether there is an auxiliary head.
    pub fn has_auxiliary(&self) -> bool {
        self.auxiliary.is_some()
    }

    /// The network without its auxiliary head, whose weights and statistics come last: those of this one begin its.
    pub fn without_auxiliary(&self) -> Self {
        let Some(auxiliary) = self.auxiliary else { return self.clone() };
        assert_eq!(auxiliary + 1, self.nodes.len(), "the auxiliary head comes last");
        let list = self.nodes[..auxiliary].iter();
        let list = list.map(|node| (node.module.clone(), node.inputs.clone(), node.prefix.clone())).collect();
        Self::new(list, self.output, self.cell_types.clone(), self.c_image)
    }

    /// Number of types of cells, whether the network has such cells or not.
    pub fn n_cell_types(&self) -> usize {
        self.cell_types.len()
    }

    /// Whether there is a cell of a type.
    pub fn has(&self, cell_type: usize) -> bool {
        self.nodes.iter().any(|node| node.cell_type() == Some(cell_type))
    }

    /// Number of operations of each edge of a type of cell: how its architecture parameters are divided.
    pub fn edge_sizes(&self, cell_type: usize) -> Vec<usize> {
        self.cell_types[cell_type].iter().map(Vec::len).collect()
    }

    /// Number of architecture parameters of each type of cell.
    pub fn n_alphas(&self) -> Vec<usize> {
        self.cell_types.iter().map(|edges| edges.iter().map(Vec::len).sum()).collect()
    }

    /// Computes a value of every node from those that it reads, and returns that of the output, and that of the auxiliary
    /// head. A value goes to its last reader, who may use its memory again; the others get clones.
    pub(crate) fn walk<V: Clone>(&self, images: V, mut node: impl FnMut(usize, &Node, Vec<V>) -> V) -> (V, Option<V>) {
        let (mut images, mut values) = (Some(images), Vec::<Option<V>>::new());
        let last_of_images = self.nodes.iter().rposition(|node| node.inputs.contains(&Source::Images));
        for (at, this) in self.nodes.iter().enumerate() {
            let mut reads = Vec::new();
            for (i, source) in this.inputs.iter().enumerate() {
                let (value, last) = match *source {
                    Source::Images => (&mut images, last_of_images),
                    Source::Node(read) => (&mut values[read], Some(self.last_reader[read])),
                };
                let is_last = last == Some(at) && !this.inputs[i + 1..].contains(source);
                let given = if is_last { value.take() } else { value.clone() };
                reads.push(given.expect("it has a reader left"));
            }
            values.push(Some(node(at, this, reads)));
        }
        let output = values[self.output].take().expect("the output is kept");
        (output, self.auxiliary.and_then(|at| values[at].take()))
    }

    /// Like [`Network::walk`], and returns the values of all nodes.
    pub(crate) fn walk_all<V>(&self, images: &V, mut node: impl FnMut(usize, &Node, &[&V]) -> V) -> Vec<V> {
        let mut values: Vec<V> = Vec::with_capacity(self.nodes.len());
        for (at, this) in self.nodes.iter().enumerate() {
            let of = |source: &Source| match *source {
                Source::Images => images,
                Source::Node(read) => &values[read],
            };
            let made = node(at, this, &this.inputs.iter().map(of).collect::<Vec<_>>());
            values.push(made);
        }
        values
    }

    /// The value of the output among those of all nodes.
    pub(crate) fn output<'a, V>(&self, values: &'a [V]) -> &'a V {
        &values[self.output]
    }

    /// Sends `last`, the gradient of the output, back. `wanted` says of each node whether the gradient of its output is;
    /// `node` maps (node, that gradient, which of its inputs' gradients are wanted) to those of the inputs, which `add`
    /// sums where several nodes read one.
    pub(crate) fn walk_back<G>(
        &self,
        last: G,
        wanted: &[bool],
        mut node: impl FnMut(usize, &Node, G, &[bool]) -> Vec<Option<G>>,
        add: impl Fn(G, G) -> G,
    ) {
        let mut gradients: Vec<Option<G>> = self.nodes.iter().map(|_| None).collect();
        gradients[self.output] = Some(last);
        for (at, this) in self.nodes.iter().enumerate().rev().filter(|(at, _)| wanted[*at]) {
            let Some(gradient) = gradients[at].take() else { continue };
            let inputs: Vec<bool> = this.inputs.iter().map(|source| is_wanted(source, wanted)).collect();
            for (source, made) in this.inputs.iter().zip(node(at, this, gradient, &inputs)) {
                let (Source::Node(read), Some(made)) = (*source, made) else { continue };
                if wanted[read] {
                    gradients[read] = Some(match gradients[read].take() {
                        Some(sum) => add(sum, made),
                        None => made,
                    });
                }
            }
        }
    }

    /// Which nodes are a cell of one of these types or lie behind one: what a gradient passes on its way to their mixing
    /// weights.
    pub(crate) fn behind(&self, is_meant: impl Fn(usize) -> bool) -> Vec<bool> {
        self.walk_all(&false, |_, node, inputs| {
            inputs.iter().any(|reads| **reads) || node.cell_type().is_some_and(&is_meant)
        })
    }

    /// Images and sides of what each node reads, for `n` images of `side` rows and columns.
    pub(crate) fn dims(&self, n: usize, side: [usize; 2]) -> Vec<CellDims> {
        let still = CellDims { n, side0: side, side1: side };
        let made = self.walk_all(&(still, side), |_, node, inputs| {
            let (first, last) = (inputs[0].1, inputs[inputs.len() - 1].1);
            let dims = CellDims { n, side0: first, side1: last };
            (dims, node.cell().map_or(last, |cell| dims.side_out(&cell.spec)))
        });
        made.into_iter().map(|(dims, _)| dims).collect()
    }

    /// The network without the operations whose mixing weight is exactly zero, the mixing weights and the weights
    /// that remain. An edge may be left without operations. The order stays, the numbers in the names change.
    pub fn pruned<R: Real>(&self, workspace: &Workspace, p: &Alphas, weights: &[R]) -> (Self, Alphas, Vec<R>) {
        let (net, p, kept) = self.pruned_view(workspace, p, View::Slice(weights));
        (net, p, kept.into_vec())
    }

    /// The same of weights wherever they lie.
    pub(crate) fn pruned_view<R: Real>(
        &self,
        workspace: &Workspace,
        p: &Alphas,
        weights: View<R>,
    ) -> (Self, Alphas, Made<R>) {
        assert_eq!(p.n_each(), self.n_alphas(), "the mixing weights do not fit the network");
        assert_eq!(weights.len(), self.n_parameters, "the flat weights do not fit the network");
        let prune = |(edges, p): (&Vec<Vec<Op>>, &Vec<f64>)| -> Vec<Vec<Op>> {
            let mut p = p.iter();
            edges
                .iter()
                .map(|ops| ops.iter().copied().zip(&mut p).filter(|(_, p)| **p != 0.0).map(|o| o.0).collect())
                .collect()
        };
        let cell_types: Vec<Vec<Vec<Op>>> = self.cell_types.iter().zip(p.each()).map(prune).collect();
        let net = if self.is_dense() {
            self.without_layers(&self.live(p), p, cell_types)
        } else {
            let list = self.nodes.iter().map(|node| {
                let mut module = node.module.clone();
                if let Module::Cell(cell) = &mut module {
                    let edges = cell_types[cell.cell_type].clone();
                    cell.spec = Arc::new(CellSpec { edges, ..(*cell.spec).clone() });
                }
                (module, node.inputs.clone(), node.prefix.clone())
            });
            Self::new(list.collect(), self.output, cell_types.clone(), self.c_image)
        };
        let nonzero = |p: &Vec<f64>| p.iter().copied().filter(|p| *p != 0.0).collect();
        let nonzero: Alphas = p.each().iter().map(nonzero).collect();
        #[cfg(feature = "gpu")]
        if let Some(all) = weights.card() {
            let kept = crate::resident::pruned(all, net.weight_parts(), &self.stretches(p, &net));
            return (net, nonzero, Made::Card(crate::held::Held::on_card(kept)));
        }
        let weights = weights.slice();
        let mut kept = R::take(workspace, net.n_parameters);
        let mut at = 0;
        for parameter in self.kept(p) {
            let len = parameter.kind.len();
            kept[at..at + len].copy_from_slice(&weights[parameter.offset..parameter.offset + len]);
            at += len;
        }
        assert_eq!(at, kept.len(), "a pruned network has the weights of its operations");
        (net, nonzero, Made::Host(kept))
    }

    /// The opposite of [`Network::pruned`] for a gradient: that of the weights that remained, and zero for all others;
    /// it lies where all `weights` do.
    pub(crate) fn unpruned<R: Real>(
        &self,
        workspace: &Workspace,
        p: &Alphas,
        pruned: &Self,
        of_kept: View<R>,
        weights: View<R>,
    ) -> Made<R> {
        #[cfg(feature = "gpu")]
        if let (Some(weights), Some(of_kept)) = (weights.card(), of_kept.card()) {
            let made = crate::resident::unpruned(weights, of_kept, &self.stretches(p, pruned));
            return Made::Card(crate::held::Held::on_card(made));
        }
        let _ = (pruned, weights);
        let of_kept = of_kept.slice();
        let mut all = R::take(workspace, self.n_parameters);
        all.fill(R::from_f64(0.0));
        let mut at = 0;
        for parameter in self.kept(p) {
            let len = parameter.kind.len();
            all[parameter.offset..parameter.offset + len].copy_from_slice(&of_kept[at..at + len]);
            at += len;
        }
        assert_eq!(at, of_kept.len(), "a pruned network has the weights of its operations");
        Made::Host(all)
    }

    /// The lengths of the parts of the flat buffer of weights, node by node.
    pub fn weight_parts(&self) -> Vec<usize> {
        self.nodes.iter().map(|node| node.len).collect()
    }

    /// The lengths of the parts of the flat buffer of running statistics, node by node.
    pub fn running_parts(&self) -> Vec<usize> {
        self.nodes.iter().map(|node| node.running.1).collect()
    }

    /// The weights that a pruned network has kept: of each stretch the node and where it begins within it, here and in the
    /// pruned network, and how long it is.
    #[cfg(feature = "gpu")]
    fn stretches(&self, p: &Alphas, pruned: &Self) -> Vec<[usize; 5]> {
        let mut list: Vec<[usize; 5]> = Vec::new();
        let (mut at, mut there) = (0, 0);
        for parameter in self.kept(p) {
            let (node, len) = (parameter.node, parameter.kind.len());
            // A network of layers has lost nodes; the order stays.
            while pruned.nodes[there].offset + pruned.nodes[there].len <= at {
                there += 1;
            }
            let (from, to) = (parameter.offset - self.nodes[node].offset, at - pruned.nodes[there].offset);
            at += len;
            match list.last_mut() {
                Some(last) if last[0] == node && last[1] + last[4] == from => last[4] += len,
                _ => list.push([node, from, there, to, len]),
            }
        }
        list
    }

    /// Which nodes the output needs if mixing weights that are zero take no part; of a mix of zeros alone its first state.
    fn live(&self, p: &Alphas) -> Vec<bool> {
        let mut live = vec![false; self.nodes.len()];
        live[self.output] = true;
        for (at, node) in self.nodes.iter().enumerate().rev() {
            if live[at] {
                for source in self.live_inputs(node, p) {
                    if let Source::Node(read) = node.inputs[source] {
                        live[read] = true;
                    }
                }
            }
        }
        live
    }

    /// Which of its inputs a node needs.
    fn live_inputs(&self, node: &Node, p: &Alphas) -> Vec<usize> {
        let all: Vec<usize> = (0..node.inputs.len()).collect();
        let Module::Layer(Layer::Mix { cell_type, alphas }) = &node.module else { return all };
        let of: Vec<usize> = all.into_iter().filter(|i| p.of(*cell_type)[alphas[*i]] != 0.0).collect();
        // Zeros have a shape, which is that of a state.
        if of.is_empty() { vec![0] } else { of }
    }

    /// A network of layers without those that are not live. Mixing weights that are zero are gone; what mixes nothing else
    /// is zero.
    fn without_layers(&self, live: &[bool], p: &Alphas, cell_types: Vec<Vec<Vec<Op>>>) -> Self {
        let place = |cell_type: usize, alpha: usize| p.of(cell_type)[..alpha].iter().filter(|p| **p != 0.0).count();
        let mut moved = vec![usize::MAX; self.nodes.len()];
        let mut list = Vec::new();
        for (at, node) in self.nodes.iter().enumerate().filter(|(at, _)| live[*at]) {
            let kept = self.live_inputs(node, p);
            let mut module = node.module.clone();
            if let Module::Layer(Layer::Mix { cell_type, alphas }) = &mut module {
                let is_zero = p.of(*cell_type)[alphas[kept[0]]] == 0.0;
                let of: Vec<usize> = kept.iter().map(|i| place(*cell_type, alphas[*i])).collect();
                module =
                    Module::Layer(if is_zero { Layer::Zero } else { Layer::Mix { cell_type: *cell_type, alphas: of } });
            }
            let source = |i: &usize| match node.inputs[*i] {
                Source::Node(read) => Source::Node(moved[read]),
                images => images,
            };
            let inputs = kept.iter().map(source).collect();
            moved[at] = list.len();
            list.push((module, inputs, node.prefix.clone()));
        }
        Self::new(list, moved[self.output], cell_types, self.c_image)
    }

    /// The weight tensors that are not of an operation with mixing weight zero.
    fn kept(&self, p: &Alphas) -> impl Iterator<Item = &Parameter> {
        let live = if self.is_dense() { self.live(p) } else { vec![true; self.nodes.len()] };
        let dropped: Vec<_> = (0..self.n_cell_types()).map(|at| self.zero_prefixes(at, p.of(at))).collect();
        self.parameters.iter().filter(move |parameter| {
            let node = &self.nodes[parameter.node];
            let name = &parameter.name[node.prefix.len()..];
            let is_dropped = |cell: &CellModule| dropped[cell.cell_type].iter().any(|d| name.starts_with(d));
            live[parameter.node] && !node.cell().is_some_and(is_dropped)
        })
    }

    /// What stands before the names of the weights of operations with mixing weight zero, inside a cell.
    fn zero_prefixes(&self, cell_type: usize, p: &[f64]) -> Vec<String> {
        let sizes = self.edge_sizes(cell_type);
        let ops = sizes.iter().enumerate().flat_map(|(edge, n)| (0..*n).map(move |o| format!("_ops.{edge}._ops.{o}.")));
        ops.zip(p).filter(|(_, p)| **p == 0.0).map(|(prefix, _)| prefix).collect()
    }

    /// Fresh weights with PyTorch's default distribution: uniform in +-1/sqrt(fan_in) for convolutions and the
    /// linear layer (its bias too), one and zero for the scale and shift of a batch norm. A network of layers for disparity begins as
    /// its authors': normal with variance 2 / fan_in (He et al., 2015), biases zero.
    pub fn init(&self, seed: u64) -> Vec<f32> {
        let mut flat = vec![0.0; self.n_parameters];
        let is_of_disparity = self.is_dense() && !self.classifies();
        for (i, p) in self.parameters.iter().enumerate() {
            if is_of_disparity {
                if !matches!(p.kind, WeightKind::Vector { .. }) {
                    let deviation = (2.0 / p.kind.fan_in() as f64).sqrt();
                    let mut stream = Stream::new(seed, "init", i as u64);
                    let values = &mut flat[p.offset..p.offset + p.kind.len()];
                    values.fill_with(|| (deviation * stream.normal()) as f32);
                }
                continue;
            }
            let fan_in = match (p.kind, &self.nodes[p.node].module) {
                (WeightKind::Vector { .. }, Module::Head(head)) => Some(head.c_in),
                (WeightKind::Vector { .. }, Module::Auxiliary(_)) if p.name.ends_with("classifier.bias") => {
                    Some(AuxiliarySpec::WIDTHS[1])
                }
                (WeightKind::Vector { .. }, Module::Layer(Layer::Linear(head))) => Some(head.c_in),
                (WeightKind::Vector { .. }, _) => None,
                (kind, _) => Some(kind.fan_in()),
            };
            let values = &mut flat[p.offset..p.offset + p.kind.len()];
            match fan_in {
                Some(fan_in) => {
                    let bound = 1.0 / (fan_in as f64).sqrt();
                    let mut stream = Stream::new(seed, "init", i as u64);
                    values.fill_with(|| (bound * (2.0 * stream.uniform() - 1.0)) as f32);
                }
                None => values.fill(if matches!(p.kind, WeightKind::Vector { ones: true, .. }) { 1.0 } else { 0.0 }),
            }
        }
        flat
    }

    /// A weight out of a flat buffer: its values in PyTorch's order and its PyTorch shape.
    pub fn read<R: Real>(&self, flat: &[R], name: &str) -> Result<(Vec<R>, Vec<usize>), ParameterError> {
        let p = self.find(name)?;
        let mut values = vec![R::from_f64(0.0); p.kind.len()];
        for (i, value) in flat[p.offset..p.offset + p.kind.len()].iter().enumerate() {
            values[p.kind.torch_index(i)] = *value;
        }
        Ok((values, p.kind.torch_shape()))
    }

    /// Puts a weight given in PyTorch's order and shape into a flat buffer.
    pub fn write<R: Real>(
        &self,
        flat: &mut [R],
        name: &str,
        values: &[R],
        shape: &[usize],
    ) -> Result<(), ParameterError> {
        let p = self.find(name)?;
        let expected = p.kind.torch_shape();
        if expected != shape || values.len() != p.kind.len() {
            return Err(ParameterError::Shape { name: name.into(), expected, given: shape.into() });
        }
        for (i, slot) in flat[p.offset..p.offset + p.kind.len()].iter_mut().enumerate() {
            *slot = values[p.kind.torch_index(i)];
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Result<&Parameter, ParameterError> {
        let unknown = || ParameterError::Unknown { name: name.into() };
        self.parameters.iter().find(|p| p.name == name).ok_or_else(unknown)
    }
}

fn is_wanted(source: &Source, wanted: &[bool]) -> bool {
    matches!(source, Source::Node(read) if wanted[*read])
}
