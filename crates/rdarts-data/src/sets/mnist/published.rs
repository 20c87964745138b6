//! MNIST and the sets made like it, as they were published.

use super::{Mnist, Release};

/// Fashion-MNIST.
pub static FASHION_MNIST: Mnist = Mnist {
    name: "fashion-mnist",
    classes: &[
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ],
    n: [60_000, 10_000],
    published: Some((&[0.2860], &[0.3530])),
    parts: PLAIN,
    directories: &["fashion-mnist", "FashionMNIST/raw", "FashionMNIST", "raw"],
    system: Some(DEBIAN_DIR),
    first: 0,
    transposed: false,
    release: Some(Release {
        base: "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        files: [
            (
                "train-images-idx3-ubyte.gz",
                26_421_880,
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            ),
            ("train-labels-idx1-ubyte.gz", 29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
            (
                "t10k-images-idx3-ubyte.gz",
                4_422_102,
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            ),
            ("t10k-labels-idx1-ubyte.gz", 5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
        ],
        // Of Debian's files; a test compares them.
        unpacked: Some([
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ]),
        begins: [&[9, 0, 0, 3, 0, 2, 7, 2, 5, 5], &[9, 2, 1, 1, 6, 1, 4, 6, 5, 7]],
    }),
    advice: "fetch it with `rdarts data fetch fashion-mnist`, run `apt-get install dataset-fashion-mnist` (Debian)",
    other_forms: &[
        ("fashion-mnist_train.csv", "the CSV form", FETCH_FASHION),
        ("FashionMNIST/processed/training.pt", "the PyTorch form", FETCH_FASHION),
    ],
};

/// MNIST.
pub static MNIST: Mnist = Mnist {
    name: "mnist",
    classes: &DIGITS,
    n: [60_000, 10_000],
    published: Some((&[0.1307], &[0.3081])),
    parts: PLAIN,
    directories: &["mnist", "MNIST/raw", "MNIST", "raw"],
    system: None,
    first: 0,
    transposed: false,
    release: Some(Release {
        base: "https://storage.googleapis.com/cvdf-datasets/mnist",
        files: [
            (
                "train-images-idx3-ubyte.gz",
                9_912_422,
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            ),
            ("train-labels-idx1-ubyte.gz", 28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
            (
                "t10k-images-idx3-ubyte.gz",
                1_648_877,
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            ),
            ("t10k-labels-idx1-ubyte.gz", 4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
        ],
        // As many independent projects pin them.
        unpacked: Some([
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ]),
        begins: [&[5, 0, 4, 1, 9, 2, 1, 3, 1, 4], &[7, 2, 1, 0, 4, 1, 4, 9, 5, 9]],
    }),
    advice: "fetch it with `rdarts data fetch mnist`",
    other_forms: &[
        ("mnist.npz", "the NumPy form", FETCH_MNIST),
        ("mnist_train.csv", "the CSV form", FETCH_MNIST),
        ("processed/training.pt", "the PyTorch form", FETCH_MNIST),
        ("MNIST/processed/training.pt", "the PyTorch form", FETCH_MNIST),
    ],
};

/// Kuzushiji-MNIST.
pub static KMNIST: Mnist = Mnist {
    name: "kmnist",
    classes: &["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"],
    n: [60_000, 10_000],
    published: None,
    parts: PLAIN,
    directories: &["kmnist", "KMNIST/raw", "KMNIST", "raw"],
    system: None,
    first: 0,
    transposed: false,
    release: Some(Release {
        base: "http://codh.rois.ac.jp/kmnist/dataset/kmnist",
        files: [
            (
                "train-images-idx3-ubyte.gz",
                18_165_135,
                "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            ),
            ("train-labels-idx1-ubyte.gz", 29_497, "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17"),
            (
                "t10k-images-idx3-ubyte.gz",
                3_041_136,
                "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            ),
            ("t10k-labels-idx1-ubyte.gz", 5_120, "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c"),
        ],
        unpacked: None,
        begins: [&[], &[]],
    }),
    advice: "fetch it with `rdarts data fetch kmnist`",
    other_forms: &[(
        "kmnist-train-imgs.npz",
        "the NumPy form",
        "rdarts reads the IDX files, `rdarts data fetch kmnist` gets them",
    )],
};

/// EMNIST in its six splits, the largest first.
pub static EMNIST: [Mnist; 6] = [
    emnist("emnist-byclass", ["emnist-byclass-train", "emnist-byclass-test"], &ALL, [697_932, 116_323]),
    emnist("emnist-bymerge", ["emnist-bymerge-train", "emnist-bymerge-test"], MERGED, [697_932, 116_323]),
    emnist("emnist-balanced", ["emnist-balanced-train", "emnist-balanced-test"], MERGED, [112_800, 18_800]),
    Mnist {
        first: 1,
        ..emnist("emnist-letters", ["emnist-letters-train", "emnist-letters-test"], &LETTERS, [124_800, 20_800])
    },
    emnist("emnist-digits", ["emnist-digits-train", "emnist-digits-test"], &DIGITS, [240_000, 40_000]),
    emnist("emnist-mnist", ["emnist-mnist-train", "emnist-mnist-test"], &DIGITS, [60_000, 10_000]),
];

/// Where EMNIST is had; it is one zip archive, which `fetch` does not unpack.
pub(super) const GET_EMNIST: &str = "unpack gzip.zip of https://www.nist.gov/itl/products-and-services/emnist-dataset";

/// The sets whose files have the same names.
pub(super) const NAMED_ALIKE: [&Mnist; 3] = [&MNIST, &FASHION_MNIST, &KMNIST];

const FETCH_MNIST: &str = "rdarts reads the IDX files, `rdarts data fetch mnist` gets them";
const FETCH_FASHION: &str = "rdarts reads the IDX files, `rdarts data fetch fashion-mnist` gets them";
const READS_EMNIST: &str = "rdarts reads the IDX files in gzip.zip of \
                            https://www.nist.gov/itl/products-and-services/emnist-dataset";

pub(super) const DEBIAN_DIR: &str = "/usr/share/datasets/fashion-mnist";
pub(super) const PLAIN: [&str; 2] = ["train", "t10k"];
pub(super) const DIGITS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
pub(super) const LETTERS: [&str; 26] = [
    "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t", "u", "v", "w",
    "x", "y", "z",
];
/// As `emnist-byclass-mapping.txt` has them: digits, capitals, small letters.
pub(super) const ALL: [&str; 62] = [
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L", "M",
    "N", "O", "P", "Q", "R", "S", "T", "U", "V", "W", "X", "Y", "Z", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j",
    "k", "l", "m", "n", "o", "p", "q", "r", "s", "t", "u", "v", "w", "x", "y", "z",
];
/// As `emnist-bymerge-mapping.txt` and `emnist-balanced-mapping.txt` have them: without the small letters that look
/// like their capitals.
pub(super) const MERGED: &[&str] = &[
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L", "M",
    "N", "O", "P", "Q", "R", "S", "T", "U", "V", "W", "X", "Y", "Z", "a", "b", "d", "e", "f", "g", "h", "n", "q", "r",
    "t",
];

const fn emnist(
    name: &'static str,
    parts: [&'static str; 2],
    classes: &'static [&'static str],
    n: [usize; 2],
) -> Mnist {
    Mnist {
        name,
        classes,
        n,
        published: None,
        parts,
        directories: &["emnist", "EMNIST/raw", "EMNIST/raw/gzip", "EMNIST", "raw", "raw/gzip", "gzip"],
        system: None,
        first: 0,
        transposed: true,
        release: None,
        advice: "unpack gzip.zip of https://www.nist.gov/itl/products-and-services/emnist-dataset there",
        other_forms: &[
            ("gzip.zip", "the packed archive", "unpack it with `unzip`"),
            ("EMNIST/raw/gzip.zip", "the packed archive", "unpack it with `unzip`"),
            ("emnist-balanced.mat", "the MATLAB form", READS_EMNIST),
            ("emnist-balanced-train.csv", "the CSV form", READS_EMNIST),
            ("emnist-letters-train.csv", "the CSV form", READS_EMNIST),
        ],
    }
}
