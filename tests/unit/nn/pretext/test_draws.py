import numpy as np

from hilum.nn.pretext.draws import high_below, key_from, low_below, noise, word

_ALL = (1 << 64) - 1


def _splitmix64(state):
    """SplitMix64 as its authors publish it."""
    mixed = state & _ALL
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _ALL
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _ALL
    return mixed ^ (mixed >> 31)


def test_words_are_those_of_splitmix64():
    key = 12345678901234567890
    for number in range(20):
        drawn = int(word(np.uint64(key), np.uint64(number)))
        assert drawn == _splitmix64(key + number * 0x9E3779B97F4A7C15)


def test_keys_and_noise_are_functions_of_the_seed():
    first, again = (noise((3, 5, 7), np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert key_from(np.random.default_rng(4)) == key_from(np.random.default_rng(4))
    assert key_from(np.random.default_rng(4)) != key_from(np.random.default_rng(5))


def test_noise_is_uniform_and_its_neighbours_are_strangers():
    values = noise((200_000,), np.random.default_rng(0))
    assert values.min() >= 0
    assert values.max() < 1
    counts = np.histogram(values, bins=20, range=(0, 1))[0]
    # 20 bins of 10,000: chi squared of 19 degrees stays below 50 but for one seed in 10,000.
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 50
    for lag in (1, 2, 64):
        assert abs(np.corrcoef(values[:-lag], values[lag:])[0, 1]) < 0.01


def test_an_odd_number_of_voxels_is_filled_to_the_last():
    values = [noise((3,), np.random.default_rng(seed))[2] for seed in range(50)]
    assert len(set(values)) == 50


def test_whole_numbers_below_a_limit_are_all_drawn_alike():
    for below in (low_below, high_below):
        drawn = [below(np.uint64(word(np.uint64(9), np.uint64(number))), 6) for number in range(6000)]
        counts = np.bincount(drawn, minlength=6)
        assert len(counts) == 6
        assert ((counts - 1000) ** 2 / 1000).sum() < 30
