import pytest
import torch
from torch import nn

from modellib import disenib
from modellib.conv_networks import ARCHITECTURES, InstanceNorm, build_discriminator

IMAGES = {"mnist": (1, 28, 28), "shapes": (1, 64, 64), "sprites": (3, 60, 60)}
CLASSES = {"mnist": 10, "shapes": 3, "sprites": 8}
DIMS = {"mnist": 16, "shapes": 16, "sprites": 512}
FEATURES = {  # (channels, height and width) after each layer, worked out by hand from the published table
    "mnist": ([(16, 13), (32, 6), (64, 2)], [(32, 6), (16, 14), (1, 28)]),
    "shapes": ([(16, 31), (32, 15), (64, 7), (64, 2)], [(32, 4), (16, 8), (8, 16), (8, 32), (1, 64)]),
    "sprites": ([(16, 29), (32, 14), (64, 6), (128, 2)], [(32, 6), (16, 14), (8, 30), (3, 60)]),
}


def build(name):
    return disenib.build_conv_networks(
        IMAGES[name][0], CLASSES[name], ARCHITECTURES[name], style_dim=DIMS[name], class_dim=DIMS[name],
        generator=torch.Generator().manual_seed(0),
    )


def features_of(network, kinds, *inputs):
    """(channels, height) of what each layer of these kinds gives."""
    seen = []
    for layer in network.modules():
        if isinstance(layer, kinds):
            layer.register_forward_hook(lambda layer, arguments, output: seen.append(output))
    network(*inputs)
    assert all(output.shape[2] == output.shape[3] for output in seen)
    return [tuple(output.shape[1:3]) for output in seen]


@pytest.mark.parametrize("name", IMAGES)
def test_every_stack_of_layers_has_the_published_sizes(name):
    networks = build(name)
    images, labels = torch.rand(2, *IMAGES[name]), torch.tensor([0, 1])
    encoder, reconstructor = FEATURES[name]
    for network in (networks.style_encoder, networks.class_encoder):
        assert features_of(network, nn.Conv2d, images) == encoder
        assert network(images).shape == (2, DIMS[name])
    style = torch.rand(2, DIMS[name])
    assert features_of(networks.reconstructor, nn.ConvTranspose2d, style, labels) == reconstructor
    assert networks.decoder.weight.shape == (CLASSES[name], DIMS[name]) and networks.decoder.bias is None
    estimator = [layer.weight.shape for layer in networks.density_estimator.modules() if isinstance(layer, nn.Linear)]
    assert estimator == [(128, DIMS[name]), (128, DIMS[name]), (256, 256), (256, 256), (1, 256)]
    assert networks.reconstructor.class_table.weight.shape == (CLASSES[name], DIMS[name])
    kernels = {(layer.kernel_size, layer.stride) for layer in networks.style_encoder.modules()
               if isinstance(layer, nn.Conv2d)}
    assert kernels == {((5, 5), (2, 2))}


def test_the_discriminator_has_the_published_sizes():
    discriminator = build_discriminator(1, torch.Generator().manual_seed(0))
    images = torch.rand(3, 1, 28, 28)
    assert features_of(discriminator, nn.Conv2d, images) == [(32, 13), (64, 6), (128, 2)]
    assert discriminator(images).shape == (3, 2)


@pytest.mark.parametrize("name", IMAGES)
def test_weights_start_as_published(name):
    networks = build(name)
    for network in networks:
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                tolerance = 4 * 0.05 / (2 * layer.weight.numel()) ** 0.5  # four standard errors of a std
                assert layer.weight.std().item() == pytest.approx(0.05, abs=tolerance)
                assert layer.bias is None or (layer.bias == 0).all()
            elif isinstance(layer, nn.ConvTranspose2d):  # PyTorch's default: uniform within this bound
                bound = (layer.weight.shape[1] * 16) ** -0.5
                assert 0.9 * bound < layer.weight.abs().max() <= bound
    table = build(name).reconstructor.class_table.weight
    assert table.std().item() == pytest.approx(1, abs=4 / (2 * table.numel()) ** 0.5)


def test_the_norm_is_that_of_torch_and_the_same_in_evaluation():
    features = torch.rand(3, 5, 7, 7) * 4 + 2
    norm = InstanceNorm()
    torch.testing.assert_close(norm(features), nn.InstanceNorm2d(5)(features))
    torch.testing.assert_close(norm.eval()(features), nn.InstanceNorm2d(5)(features))


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_is_treated_the_same_whatever_else_is_in_its_batch(name):
    networks = build(name)
    images = torch.rand(4, *IMAGES[name])
    torch.testing.assert_close(networks.style_encoder(images)[:1], networks.style_encoder(images[:1]))
    style, labels = torch.rand(4, DIMS[name]), torch.tensor([0, 1, 2, 0])
    whole = networks.reconstructor(style, labels)
    torch.testing.assert_close(whole[2:3], networks.reconstructor(style[2:3], labels[2:3]))
    assert whole.min() > 0 and whole.max() < 1


def test_style_fills_the_first_half_of_the_channels_and_the_class_the_second():
    reconstructor = build("mnist").reconstructor
    seen = []
    reconstructor.layers.register_forward_pre_hook(lambda layer, arguments: seen.append(arguments[0]))
    style = torch.rand(2, 16)
    reconstructor(style, torch.tensor([0, 0]))
    reconstructor(style, torch.tensor([1, 1]))
    reconstructor(style + 1, torch.tensor([0, 0]))
    assert seen[0].shape == (2, 128, 2, 2)
    other_class, other_style = seen[1] == seen[0], seen[2] == seen[0]
    assert other_class[:, :64].all() and not other_class[:, 64:].any()
    assert other_style[:, 64:].all() and not other_style[:, :64].any()
