//! Lanczos against the full spectrum on random supernets: different spaces, sizes, weights, alphas and batches.

use rdarts_net::{AlphaHessian, Alphas, Batch, Engine, Network, Point, SupernetSpec, Targets};
use rdarts_rng::Stream;
use rdarts_search::hessian::largest_eigenvalue;
use rdarts_search::lanczos::spectrum;
use rdarts_space::Space;

#[test]
fn lanczos_agrees_with_the_full_spectrum_within_its_bound_on_random_supernets() {
    let mut products = Vec::new();
    let mut exact = 0f64;
    for seed in 0..24 {
        let mut s = Stream::new(seed, "test", 0);
        let space = Space::builtin(["s1", "s2", "s3", "tiny"][seed as usize % 4]).unwrap();
        let (c, cells, classes, n) = (2 + s.below(4), 2 + s.below(3), 2 + s.below(5), 3 + s.below(6));
        let side = [4 + s.below(5), 4 + s.below(5)];
        let net = Network::supernet(SupernetSpec::from_space(&space, cells, c, 1 + s.below(3), classes));
        let [normal, reduce] = net.n_alphas()[..] else { unreachable!("a supernet has two types of cells") };
        let mut normals = |n: usize, scale: f64| -> Vec<f64> { (0..n).map(|_| scale * s.normal()).collect() };
        let alphas = Alphas::from([normals(normal, 0.7), normals(reduce, 0.7)]);
        let images: Vec<f32> = normals(n * side[0] * side[1] * net.c_image(), 1.0).iter().map(|v| *v as f32).collect();
        let labels: Vec<u32> = (0..n).map(|_| s.below(classes) as u32).collect();
        let weights = net.init(seed);
        let at = Point { net: &net, engine: &Engine::cpu(), weights: &weights, alphas: &alphas };
        let hessian = AlphaHessian::new(
            at,
            Batch { images: (&images).into(), side, targets: Targets::Labels(&labels), noise: &[] },
        );
        let full = hessian.full();
        let values = spectrum(full.n, &full.values);
        let largest = values.iter().fold(0f64, |m, v| m.max(v.abs()));
        assert!(full.asymmetry < 1e-4 * largest, "seed {seed}: asymmetry {:.1e} of {largest:.1e}", full.asymmetry);
        for tolerance in [1e-1, 1e-3, 1e-12] {
            let found = largest_eigenvalue(&hessian, tolerance, &mut Stream::new(seed, "lanczos", 0));
            let slack = found.bound;
            if tolerance < 1e-9 {
                exact = exact.max((values[0] - found.value).abs() / largest);
            }
            assert!(
                (found.value - values[0]).abs() <= slack,
                "seed {seed} {tolerance}: {} {} {slack}",
                found.value,
                values[0]
            );
            assert!(found.n_products <= hessian.range().len());
            products.push(found.n_products);
        }
    }
    println!("products of Lanczos: {products:?}; exact but for rounding: {exact:.1e} of the largest");
    assert!(exact < 0.1 * rdarts_search::hessian::ROUNDING);
}
