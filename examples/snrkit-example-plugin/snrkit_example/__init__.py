"""An estimator, a model, a data source, a metric and a figure for snrkit."""
