//! The shelf of buffers, alone in its process: other tests would take what this one has put back.

use rdarts_kernels::buffers::{Buffer, clear, give_back, idle, take_gradient, take_vec};

#[test]
fn scratch_and_gradients_of_any_size_share_their_memory() {
    drop((Buffer::take(300_000), take_vec(300_000)));
    let small = Buffer::scratch(100_000);
    let address = small.as_ptr();
    drop(small);
    // It grows where it is, up to the longest buffer that there was.
    let large = Buffer::scratch(300_000);
    assert_eq!((large.as_ptr(), large.len()), (address, 300_000));
    drop(large);
    let zeros = Buffer::scratch_zeros(5000);
    assert!(zeros.as_ptr() == address && zeros.iter().all(|v| *v == 0.0));
    assert!(Buffer::scratch(0).is_empty());
    let beside = Buffer::scratch(5000);
    assert_ne!(beside.as_ptr(), address);
    drop((zeros, beside));

    let small = take_gradient(100_000);
    let address = small.as_ptr();
    give_back(small);
    let large = take_gradient(300_000);
    assert_eq!((large.as_ptr(), large.len()), (address, 300_000));
    give_back(large);

    assert!(idle() >= 600_000);
    clear();
    assert_eq!(idle(), 0);
}
