//! The corpus of the fuzzer, held against the properties of every decoder; `tests/decoders/run` looks for more.

#[path = "../decoders/properties/mod.rs"]
mod properties;

use std::fs;
use std::path::Path;

use properties::DECODERS;

#[test]
fn every_input_of_the_corpus_keeps_the_properties_of_its_decoder() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/decoders/corpus");
    let names = fs::read_dir(&corpus).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    let mut decoders: Vec<_> = DECODERS.iter().map(|decoder| decoder.name).collect();
    decoders.sort();
    assert_eq!(names, decoders, "each decoder has a corpus, and nothing else has");
    for decoder in DECODERS {
        let mut count = 0;
        for entry in fs::read_dir(corpus.join(decoder.name)).unwrap() {
            let path = entry.unwrap().path();
            let input = fs::read(&path).unwrap();
            let judged = std::panic::catch_unwind(|| (decoder.judge)(&input));
            assert!(judged.is_ok(), "{}", path.display());
            count += 1;
        }
        assert!(count > 0, "the corpus of {} is empty", decoder.name);
    }
}
