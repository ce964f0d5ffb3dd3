"""Recipes: from open base weights and open data to the served model directories."""
